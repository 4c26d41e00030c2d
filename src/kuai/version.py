"""The version of kuai, told once."""

__version__ = "0.1.0"
