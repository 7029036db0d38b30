"""What the scales and tasks of the suite hand out, with units and ranges."""

from typing import Literal

from pydantic import Field

from harness.settings import Decay, Settings


class Epochs(Settings):
    """How long to train at most, by family of graphs; full batch, so an epoch is an update."""

    self_sufficient: int = Field(ge=0)
    """On graphs whose labels a node's own features tell."""
    neighbour_dependent: int = Field(ge=0)
    """On graphs whose labels come from the neighbours up to k hops away."""
    generated: int = Field(ge=0)
    """On generated minesweeper boards."""
    real: int = Field(ge=0)
    """On real graphs."""

    @classmethod
    def all(cls, epochs: int) -> "Epochs":
        """The same for every family."""
        return cls(
            self_sufficient=epochs, neighbour_dependent=epochs, generated=epochs, real=epochs
        )

    def of(self, source: "Source") -> int:
        """Those of the graph's family."""
        match source:
            case SelfSufficient():
                return self.self_sufficient
            case NeighbourDependent():
                return self.neighbour_dependent
            case Minesweeper():
                return self.generated
            case Real() | Own():
                return self.real


class Released(Settings):
    """What the released code's scripts use for one task."""

    hidden: int = Field(ge=2, multiple_of=2)
    """Width of every layer but the last, units."""
    lr: float = Field(gt=0)
    """Learning rate of Adam."""
    epochs: int = Field(ge=1)
    """Updates at most."""


class Run(Settings):
    """What a scale uses in place of the released settings, the same for every task."""

    hidden: int = Field(default=64, ge=2, multiple_of=2)
    """Width of every layer but the last, units; even, since units start in pairs."""
    lr: float = Field(default=0.005, gt=0)
    """Learning rate of Adam."""
    epochs: Epochs
    """Updates at most."""


class GateSettings(Settings):
    """What every scale hands to the methods."""

    run: Run | None
    """Width, rate and epochs; None: those that the released code uses for each task."""
    nodes: int = Field(default=1000, ge=2)
    """Nodes of a generated Erdős–Rényi graph."""
    p: float = Field(default=0.01, ge=0, le=1)
    """Chance of each of its edges."""
    side: int = Field(default=100, ge=2)
    """Fields along each side of a generated minesweeper board."""
    fitted: float = Field(default=1e-4, ge=0)
    """Training loss, nats per node, at which training stops."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of Adam's means of gradients and of their squares."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of Adam's mean square."""


class NetworkSettings(Settings):
    """What a method is."""

    network: str
    """Name in `suites.gate.model.METHODS`."""


class SelfSufficient(Settings):
    """A graph whose labels a node's own features tell: neighbours are noise."""

    family: Literal["self-sufficient"] = "self-sufficient"
    """Which kind of graph this is."""
    structure: Literal["erdos-renyi", "cora"]
    """Where the edges come from."""
    labels: Literal["random", "own"]
    """Drawn, or those of the graph itself."""
    classes: int = Field(ge=2)
    """Number of labels."""


class NeighbourDependent(Settings):
    """A generated graph whose labels come from the neighbours up to a number of hops away."""

    family: Literal["neighbour-dependent"] = "neighbour-dependent"
    """Which kind of graph this is."""
    hops: int = Field(ge=1)
    """Distance that labels come from, edges."""


class Minesweeper(Settings):
    """A generated minesweeper board."""

    family: Literal["minesweeper-generated"] = "minesweeper-generated"
    """Which kind of graph this is."""


class Real(Settings):
    """A graph from a file."""

    family: Literal["real"] = "real"
    """Which kind of graph this is."""
    dataset: str
    """Name in `suites.gate.datasets.DATASETS`."""


class Own(Settings):
    """A graph that a plugin brings, as `suites.gate.own` has stored it."""

    family: Literal["own"] = "own"
    """Which kind of graph this is."""
    dataset: str
    """Name of the dataset."""
    file: str
    """The file in it, named by its digest."""
    classes: int = Field(ge=2)
    """Number of labels."""
    splits: int = Field(ge=1)
    """Number of splits; seed s uses split s mod splits."""


Source = SelfSufficient | NeighbourDependent | Minesweeper | Real | Own


class GraphTask(Settings):
    """What a task is: a graph, a depth, a score."""

    graph: str
    """Name that tasks on the same graph share."""
    source: Source = Field(discriminator="family")
    """Where the graph comes from."""
    depth: int = Field(ge=1)
    """Layers of the network."""
    metric: Literal["accuracy", "roc-auc", "hard-roc-auc"]
    """Score that selects the epoch and is reported."""
    released: Released
    """The released code's settings for it."""
