"""The editions of Standard Ebooks that the general text and a part of the law come from."""

FEDERALIST = (
    "alexander-hamilton_john-jay_james-madison_the-federalist-papers",
    "75f7b50db76aa0f3b6114933d33fa4354034a909",
)
"""Repository and commit."""

BOOKS = (
    ("charles-darwin_the-origin-of-species", "7c13c26dbac394a5fbe31c21b0403a8688686ba3"),
    ("henry-david-thoreau_walden", "f000c2130735e4cff43fd147d47201c0199405d2"),
    (
        "benjamin-franklin_the-autobiography-of-benjamin-franklin",
        "ff5d6bec9a260f1f5e0ed216d97126f388a60d7c",
    ),
    ("bertrand-russell_the-problems-of-philosophy", "6d2f24b18a4263d7ca43022163cfa9e1f366c9ba"),
    (
        "william-james_the-varieties-of-religious-experience",
        "9468e743466077aeff166967ef14a965b0bc0fc7",
    ),
    ("jane-austen_pride-and-prejudice", "8ec1ca806088448201a95e277010ea160d3ebb48"),
    ("charles-dickens_great-expectations", "d386bda66efcfd71ae1fea0528f453c06b1ccbaa"),
    ("herman-melville_moby-dick", "f6a255003170e113bb80a33cad230154af4caef8"),
    ("george-eliot_middlemarch", "c54ac09aae18f8b480daa8326111e2693691b2ba"),
    (
        "arthur-conan-doyle_the-adventures-of-sherlock-holmes",
        "23b2b6e0aa1350aaccaac91e1d0fe3bb6ed4c81f",
    ),
    ("mary-shelley_frankenstein", "0e54fe85d3916535d8fa9dddebee03b107fa0888"),
    ("adam-smith_the-wealth-of-nations", "2b5c1ea5d6a904972dcb0bec9b89a32f0c3255c5"),
)
"""Repository and commit, in the order of the corpus."""

FRONT_MATTER = frozenset(
    {
        "colophon", "dedication", "endnotes", "halftitlepage", "imprint", "index", "loi",
        "titlepage", "uncopyright",
    }
)  # fmt: skip
"""Pages that are not text of the book."""
