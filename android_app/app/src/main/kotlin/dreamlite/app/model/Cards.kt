package dreamlite.app.model

import dreamlite.core.Manifest
import dreamlite.core.Mode
import dreamlite.core.memoryEstimate

/** What the screens say of an imported bundle. */
data class BundleCard(
    val name: String,
    val digest: String,
    val checkpoint: String,
    val backend: String,
    val precision: String,
    val soc: String?,
    val width: Int,
    val height: Int,
    val modes: Set<Mode>,
    val steps: Int,
    val bytes: Long,
    val memory: Long,
    val licence: String,
) {
    companion object {
        /** [digest] is of the manifest: a bundle replaced under the same name has another. */
        fun of(name: String, digest: String, manifest: Manifest) = BundleCard(
            name = name,
            digest = digest,
            checkpoint = manifest.checkpoint.sha256,
            backend = manifest.backend.key,
            precision = manifest.components.values.map { it.precision }.distinct().sorted().joinToString("+"),
            soc = manifest.htp?.soc,
            width = manifest.size.width,
            height = manifest.size.height,
            modes = manifest.modes.toSet(),
            steps = manifest.defaultSteps,
            bytes = bytesOf(manifest),
            memory = memoryOf(manifest),
            licence = manifest.licence,
        )

        fun bytesOf(manifest: Manifest): Long = manifest.files.values.sumOf { it.bytes }

        /** The least that runs every mode: one component at a time. */
        fun memoryOf(manifest: Manifest): Long = manifest.modes.maxOf { manifest.memoryEstimate(it).largest }
    }
}

/** A size to choose: programs have one each, so a choice is another bundle of the same checkpoint and backend. */
data class SizeChoice(val width: Int, val height: Int, val bundle: String, val chosen: Boolean)

object Sizes {
    fun of(bundles: List<BundleCard>, current: BundleCard): List<SizeChoice> = bundles
        .filter { it.checkpoint == current.checkpoint && it.backend == current.backend && it.precision == current.precision }
        .sortedBy { it.width.toLong() * it.height }
        .groupBy { it.width to it.height }
        .map { (size, same) ->
            val chosen = current in same
            SizeChoice(size.first, size.second, if (chosen) current.name else same.first().name, chosen)
        }
}

/** One picture that was drawn. Times in seconds, by stage as [dreamlite.core.Timings] has them. */
data class HistoryEntry(
    val id: String,
    val mode: Mode,
    val prompt: String,
    val seed: ULong,
    val steps: Int,
    val width: Int,
    val height: Int,
    val bundle: String,
    val precision: String,
    val created: Long,
    val stages: Map<String, Double>,
    val total: Double,
)

/** The phone, as far as it tells. Memory in bytes; [heat] as in [Heat]. */
data class PhoneFacts(
    val model: String = "",
    val soc: String? = null,
    val android: String = "",
    val totalMemory: Long = 0,
    val freeMemory: Long = 0,
    val freeStorage: Long = 0,
    val heat: Int = 0,
    val headroom: Float? = null,
)
