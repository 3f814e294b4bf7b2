"""The atlas of a bundle: what each slider does, in figures, pictures and a page."""

from segan.runtime.atlas.cards import PageCommands
from segan.runtime.atlas.measure import measure_atlas
from segan.runtime.atlas.record import Atlas, AtlasConfig, AtlasSlider
from segan.runtime.atlas.write import write_atlas

__all__ = ["Atlas", "AtlasConfig", "AtlasSlider", "PageCommands", "measure_atlas", "write_atlas"]
