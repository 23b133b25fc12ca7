"""Backends: each turns a component's graph into an engine for a target."""
