package dreamlite.app.model

import dreamlite.core.Manifest
import dreamlite.core.Mode
import dreamlite.core.PictureSize
import dreamlite.core.memoryEstimate
import dreamlite.core.nearestShape

/** What the screens say of an imported bundle. [sizes]: what it can draw, its default first. */
data class BundleCard(
    val name: String,
    val digest: String,
    val checkpoint: String,
    val backend: String,
    val precision: String,
    val soc: String?,
    val sizes: List<PictureSize>,
    val modes: Set<Mode>,
    val steps: Int,
    val bytes: Long,
    val memory: Long,
    val licence: String,
) {
    /** What is drawn: the chosen size where it is here, else of an edit the one shaped most like its picture, else the default. */
    fun size(draft: Draft): PictureSize = chosen(draft) ?: draft.source?.let { sizes.nearestShape(it.size) } ?: sizes.first()

    /** Whether the size of an edit is the one shaped most like its picture, because none was chosen. */
    fun followsSource(draft: Draft): Boolean = draft.source != null && chosen(draft) == null

    private fun chosen(draft: Draft) = (if (draft.source == null) draft.size else draft.editSize)?.takeIf { it in sizes }

    companion object {
        /** [digest] is of the manifest: a bundle replaced under the same name has another. */
        fun of(name: String, digest: String, manifest: Manifest) = BundleCard(
            name = name,
            digest = digest,
            checkpoint = manifest.checkpoint.sha256,
            backend = manifest.backend.key,
            precision = manifest.components.values.map { it.precision }.distinct().sorted().joinToString("+"),
            soc = manifest.htp?.soc,
            sizes = manifest.sizes.map { it.sides },
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

/** A size to choose, and the bundle that draws it: the one in use, or another of the same checkpoint and backend. */
data class SizeChoice(val size: PictureSize, val bundle: String, val chosen: Boolean)

object Sizes {
    /** The smallest first, each once: the bundle in use comes before others that have the same size. */
    fun of(bundles: List<BundleCard>, current: BundleCard, size: PictureSize): List<SizeChoice> {
        val others = bundles.filter { it != current && it.isLike(current) }
        return (listOf(current) + others).flatMap { card -> card.sizes.map { it to card } }
            .distinctBy { it.first }
            .sortedBy { (one, _) -> one.width.toLong() * one.height }
            .map { (one, card) -> SizeChoice(one, card.name, card == current && one == size) }
    }

    private fun BundleCard.isLike(other: BundleCard) =
        checkpoint == other.checkpoint && backend == other.backend && precision == other.precision
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
