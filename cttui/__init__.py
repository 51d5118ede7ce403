"""cttui: the live dashboard of Linux connection tracking."""

__version__ = "0.1.0"
