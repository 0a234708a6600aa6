"""TorchScript programs (``torch.jit.save``): their weights, and the computation where all of it is layers.

Such a file is a zip like that of ``torch.save``, with ``data.pkl`` and its storages, and beside them ``constants.pkl``
and the program's ``code``.
"""

from minirnn.core.files import ModelFileError
from minirnn.formats import opening
from minirnn.formats.containers.pickle import Foreign
from minirnn.formats.containers.zip import Archive
from minirnn.formats.torch import code, following, records
from minirnn.formats.torch.pickled import Choice, View


def is_program(archive: Archive, root: str) -> bool:
    """Whether the zip is one; ``root`` is the folder in which ``data.pkl`` is."""
    return f"{root}constants.pkl" in archive.entries and any(
        name.startswith(f"{root}code/") for name in archive.entries
    )


def choice(archive: Archive, root: str, content: object) -> Choice:
    """The state dict of the program's module, which ``data.pkl`` holds, and what its code says of it."""
    path = str(archive.path)
    if type(content) is not Foreign or content.state is None:
        raise ModelFileError(f"{path} must hold a module of TorchScript; it holds {content!r:.100}")
    tensors = records.tensors_of(records.walked(content, path, records.scripted))
    if not any(type(value) is View for value in tensors.values()):
        raise ModelFileError(f"{path} {opening.FROZEN}")

    def text(module: str) -> str | None:
        """The code of a module's classes, ``__torch__.a.b`` for example."""
        name = f"{root}code/{module.replace('.', '/')}.py"
        if name not in archive.entries or archive.entries[name].file_size > code.LARGEST_FILE:
            return None
        return code.text_of(archive.read(name), f"{path}, {name}")

    return Choice("", tensors, (), following.outline(content, text))
