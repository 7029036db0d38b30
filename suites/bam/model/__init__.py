"""The language model: dense, BTX and BAM by configuration; how one is made of others."""
