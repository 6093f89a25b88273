"""What is known of the files that this package fetches: their licences and their hashes."""

from __future__ import annotations

import re

SLAB = (
    'NTU S-Lab License 1.0, for non-commercial use only '
    '(https://github.com/HarborYuan/ovsam/blob/main/LICENSE)'
)
SAM = 'Apache License 2.0 (https://github.com/facebookresearch/segment-anything/blob/main/LICENSE)'
CLIP = 'MIT License of OpenAI (https://github.com/openai/CLIP/blob/main/LICENSE)'

_LICENCES = (
    (r'^hf://HarborYuan/ovsam_models[@/]', SLAB),
    (r'(^|/)(sam2clip_vith|clip2sam_(coco|lvis))_rn50x16\.pth$', SLAB),
    (r'(^|/)sam_vit_[hlb]_\w+\.pth(#|$)', SAM),
    (r'^open_clip://.*:openai$', CLIP),
)

SHA256: dict[str, str] = {}
"""SHA-256 of files by their address, where it is known before the first download.

Empty as long as nobody has recorded them: `mmovsam download NAME` prints the hashes of what it has
fetched. Until then the hash of the first download is kept, and later ones have to agree with it.
"""


def licence_of(address: str) -> str | None:
    """On what terms a file is offered, None if that is not known here.

    Args:
        address: As for `fetch`, or the name of a file, which counts if it is that of a released
            one.
    """
    return next((known for pattern, known in _LICENCES if re.search(pattern, address)), None)
