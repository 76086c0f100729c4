"""Speed as ratios: both sides in one run, interleaved, each behind a correctness gate."""
