"""The one place that states the version."""

NAME = "Signet"
VERSION = "0.1.0"
