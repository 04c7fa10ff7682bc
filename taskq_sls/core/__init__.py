"""Nouns that every other package uses: messages, deliveries, options, clocks, threads."""
