"""What an audit does not show, in the words that stand in every report."""

from __future__ import annotations

LIMITS: tuple[str, ...] = (
    "Categories are those of the tool. Nobody in these pictures exists, so nothing says who anybody is; a "
    "measured colour or a resemblance in a feature space is neither gender nor ethnicity.",
    "The figures hold for these prompts, this model with these weights, this sampler, these steps and this "
    "guidance. Another wording, another language or another setting may give other shares.",
    "Intervals tell the uncertainty of drawing pictures. They do not know the labeller's error unless it was "
    "measured and the shares are shown as corrected, and a labeller measured on other pictures may err "
    "otherwise on these.",
    "A reference is a yardstick that somebody chose, of one place and one year. Agreeing with it is not the "
    "same as being fair, and an even spread is nobody's statistics.",
    "Nothing found is not proof of nothing: with n pictures, a category that was never seen may still make up "
    "about 3 / n.",
    "Seeds are shared between variants, so their pictures are paired; the comparison treats them as "
    "independent, which makes it cautious.",
    "Pictures that could not be made, were refused or are covered by the policy are missing from the shares and "
    "are listed as failures.",
)
