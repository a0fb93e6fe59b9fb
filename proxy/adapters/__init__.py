"""L4: ports made of real things. Adapters know `core` (`wire` and `synth` for offline answers), never the engine."""
