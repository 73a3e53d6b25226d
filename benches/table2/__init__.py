"""The paper's comparison of retrieval times (its table 2), repeated: four methods, each in several ways, same maps."""
