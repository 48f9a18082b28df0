"""Programs that read what they take where the caller has it."""

from executorch.exir.passes import MemoryPlanningPass


class SharedInputs(MemoryPlanningPass):
    """Plans no memory for what a method takes.

    What a whole program takes is the app's, what a shard takes mostly other shards' outputs: with room of its own
    everything would be held twice, and copied into it by executorch at every call.
    """

    def __init__(self) -> None:
        super().__init__(alloc_graph_input=False)
