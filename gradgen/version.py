"""The version that emitted headers carry."""

VERSION = "0.1.0"
