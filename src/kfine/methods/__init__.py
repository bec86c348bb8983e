"""From a measurement to restored planes: one file a method, the only place where parts meet."""
