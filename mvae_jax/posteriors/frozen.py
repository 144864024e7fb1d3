"""A control: the MVAE's family with C as it was drawn, never trained."""

from mvae_jax.posteriors import mvae

frozen = mvae.mvae._replace(
    frozen=("coupling",),
    follow=lambda config, before, after, carry, exact: carry,
    keep=lambda carry: None,
    error=None,
)
