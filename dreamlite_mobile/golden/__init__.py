"""Golden vectors: what the Python side computes, written down for the Kotlin side to repeat (`dreamlite golden`)."""
