"""The errors a user can cause and mend: one sentence, naming the file or field and what would be right."""


class TerraScopeError(Exception):
    """Base of all errors that a user can mend. The command line prints the message and exits with code 2."""


class SceneError(TerraScopeError):
    """A raster cannot be read, or observations do not form one scene."""


class ScaleError(TerraScopeError):
    """A size in metres was asked of a scene whose ground scale is unknown."""


class QuestionError(TerraScopeError):
    """The question, its options or a class name cannot be used."""


class ModelError(TerraScopeError):
    """A model cannot be found or does not fit this program."""


class OutputError(TerraScopeError):
    """A result cannot be written where it was asked for."""
