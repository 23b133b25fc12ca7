"""The GPU: its facts, memory, streams, events and graphs, through the library that is here."""
