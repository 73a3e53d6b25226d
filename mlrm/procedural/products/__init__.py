"""The kinds of product, one a file: its parameters and how it is built from them."""

from mlrm.procedural.parameters import Category
from mlrm.procedural.products.armchair import ARMCHAIR
from mlrm.procedural.products.backpack import BACKPACK
from mlrm.procedural.products.boot import BOOT
from mlrm.procedural.products.chair import CHAIR
from mlrm.procedural.products.glasses import GLASSES
from mlrm.procedural.products.handbag import HANDBAG
from mlrm.procedural.products.heel import HEEL
from mlrm.procedural.products.lamp import LAMP
from mlrm.procedural.products.mug import MUG
from mlrm.procedural.products.sneaker import SNEAKER
from mlrm.procedural.products.stool import STOOL
from mlrm.procedural.products.teapot import TEAPOT
from mlrm.procedural.products.vase import VASE
from mlrm.procedural.products.watch import WATCH

_ALL = (
    SNEAKER, BOOT, HEEL, CHAIR, STOOL, ARMCHAIR, HANDBAG, BACKPACK, LAMP, MUG, TEAPOT, VASE, GLASSES, WATCH,
)  # fmt: skip
CATALOGUE: dict[str, Category] = {category.name: category for category in _ALL}
