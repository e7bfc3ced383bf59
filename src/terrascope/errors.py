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


class SampleError(TerraScopeError):
    """A record of a data set, or the data set itself, is not of the form that it should have."""


class EndpointError(TerraScopeError):
    """A language model behind an endpoint cannot be reached, refuses, or does not answer in the form asked for."""


class ManifestError(TerraScopeError):
    """A list of scenes and questions is not of the form that it should have."""


class ArchiveError(TerraScopeError):
    """An archive of images cannot be searched, or has nothing that was looked for."""


class RecipeError(TerraScopeError):
    """A recipe of a training cannot be read, or a setting of it is unknown or not what it should be."""


class TrainingError(TerraScopeError):
    """A training cannot go on."""


class ServeError(TerraScopeError):
    """The server cannot start as it was told to."""
