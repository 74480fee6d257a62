"""The flow of a list: import -> publish -> snapshot -> subscribe.

    file --import--> entries --publish--> segments + snapshot --subscribe--> mirror --> checks

Nouns without I/O: `rows` (a file's rows), `entry` (an entry at rest), `segment*` and `view` (the files and what they
hold), `compaction` (when deltas are merged), `epoch`, `snapshot`, `catalogue` (signed statements), `trusted` with its
parts (what a subscriber believes), `progress` (which of two kept states is ahead), `kept` (rows of the store).

Verbs: `importing`; `publish` with `composing` (writes segments), `build` and `builders` (rows, on all cores), `runs`
(sorts them); `published` with `openings` (opens its files); `subscribe` with `mirror`.
"""
