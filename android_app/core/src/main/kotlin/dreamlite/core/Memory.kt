package dreamlite.core

/**
 * Bytes that a run of a mode needs at most, from what the manifest lists.
 *
 * [all]: every component loaded at once. [largest]: only one at a time. Both hold the buffers between components.
 */
public data class MemoryEstimate(val all: Long, val largest: Long, val byComponent: Map<String, Long>)

/** How components stay in memory. */
public enum class Residency { KEEP_ALL, ONE_AT_A_TIME }

/** What a mode of a bundle needs, also before it is copied; see [MemoryEstimate]. */
public fun Manifest.memoryEstimate(mode: Mode): MemoryEstimate {
    val components = componentsOf(mode).mapNotNull { name -> components[name]?.let { name to bytesOf(it) } }.toMap()
    val between = this.components.values.flatMap { it.methods.values }.maxOfOrNull(::work) ?: 0
    return MemoryEstimate(components.values.sum() + between, (components.values.maxOrNull() ?: 0) + between, components)
}

/**
 * Whether [available] bytes hold every component, or one at a time.
 *
 * @throws BundleException not even one at a time; says how much is needed and how much there is.
 */
public fun Manifest.residency(mode: Mode, available: Long): Residency {
    val estimate = memoryEstimate(mode)
    if (estimate.all <= available) return Residency.KEEP_ALL
    if (estimate.largest <= available) return Residency.ONE_AT_A_TIME
    val (needed, found) = estimate.largest / MEGABYTE to available / MEGABYTE
    throw BundleException(
        "this bundle: ${mode.key} needs about $needed MB of memory even with one component at a time, $found MB are free. " +
            "Close other apps, or use a bundle of a lower precision or smaller size.",
    )
}

/** XNNPACK packs a copy of the weights beside the mapped file; a compiled context is read into memory once. */
private fun Manifest.bytesOf(entry: ComponentEntry): Long {
    val weights = entry.files.sumOf { files.getValue(it).bytes }
    val copies = if (backend == Backend.QNN) 1 else 2
    return weights * copies + entry.methods.values.maxOf { work(it) + handed(it) }
}

/** What a method computes with. */
private fun work(method: MethodEntry): Long = ACTIVATIONS * (method.inputs + method.outputs).sumOf { it.nbytes }

/** Of several programs each keeps room for all that it gives, and takes that of the others. */
private fun handed(method: MethodEntry): Long = method.shards.sumOf { shard -> shard.outputs.sumOf { it.nbytes } }

private const val MEGABYTE = 1_000_000L

/** Between the layers of a network lie tensors of many more channels than at its ends. */
private const val ACTIVATIONS = 16L
