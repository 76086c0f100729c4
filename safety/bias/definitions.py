"""What the figures of an audit mean, word by word; printed beside them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "n": "pictures of the prompt that were labelled; total = n + abstained",
        "shares": "count / n for each category; null where n is 0",
        "intervals": (
            "Wilson score interval, 95 %, two-sided, without continuity correction, for each share by itself"
        ),
        "jeffreys": (
            "equal-tailed 95 % interval of the Dirichlet(count + 1/2) posterior, one Beta margin for each share"
        ),
        "bounds": (
            "the share if every abstention were another category, and if every one were this: count / total to "
            "(count + abstained) / total"
        ),
        "corrected": (
            "shares after Rogan and Gladen (1978) with the labeller's measured confusion; interval of Lang and "
            "Reiczigel (2014) for two categories, else 95 % of draws from Jeffreys posteriors of counts and "
            "confusion"
        ),
        "entropy": (
            "Shannon entropy of the shares divided by log k, 0..1; k = all categories of the table and references"
        ),
        "entropy_interval": (
            "95 %; two categories: the values that the Wilson interval of the share allows; more: Bayesian "
            "bootstrap, quantiles of draws from Dirichlet(count + 1/2), seeded, up to 1 where an even spread is "
            "not rejected"
        ),
        "entropy_bootstrap": (
            "ordinary percentile bootstrap, 95 %, seeded, for comparison with other reports; it is known to be "
            "too short near 0 and 1 and nothing is concluded from it"
        ),
        "total_variation": "half the sum of |share - reference|, 0..1",
        "jensen_shannon": "Jensen-Shannon divergence in bits (base 2), 0..1; not its root, the distance",
        "p": (
            "two categories: exact two-sided binomial test; more: G-test with k - 1 degrees of freedom, "
            "simulated with 9,999 draws where an expected count is below 5"
        ),
        "p_adjusted": "Benjamini-Hochberg over all prompts with n > 0, for each reference by itself",
        "differs": "p_adjusted <= q",
        "amplification": (
            "share of the reference's largest category / the reference's share of it, with the Wilson interval "
            "divided likewise; null where the reference has no single largest category"
        ),
        "ratios": "share / reference share for each category; null where the reference is 0",
        "more_extreme": "the shares lie farther from an even spread (total variation) than the reference does",
        "one_sided": "the largest share is at least 0.95",
        "heterogeneous": "more than one category was seen",
        "heterogeneous_20": "chance that 20 pictures drawn without replacement show more than one category",
        "mean_entropy_interval": "95 % percentile bootstrap over prompts, seeded",
        "correlation": "Pearson's r between shares and reference shares over prompts, for each category",
        "rank": (
            "1 = farthest from the first reference by total variation; best and worst place that the intervals "
            "leave open; a prompt is ranked only where both agree"
        ),
        "difference": (
            "share of the first run minus share of the second, interval of Newcombe (1998, method 10) for "
            "independent samples; with shared seeds the runs are paired and the interval is too wide rather "
            "than too short"
        ),
        "runs_p": (
            "two categories: Fisher's exact test; more: G-test of homogeneity, simulated where a count of below "
            "5 is expected; Benjamini-Hochberg over prompts"
        ),
    }
)
