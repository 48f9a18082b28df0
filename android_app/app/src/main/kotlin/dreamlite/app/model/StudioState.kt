package dreamlite.app.model

import dreamlite.core.Fault
import dreamlite.core.Mode
import dreamlite.core.PictureSize

enum class Page { STUDIO, HISTORY, MODELS, PHONE }

/** A picture to change, as a file of the app. */
data class Source(val file: String, val size: PictureSize)

/**
 * What the user wrote and chose. [source]: the picture to change; null to draw a new one. [size]: of new pictures, [editSize]
 * of this source's edits; null until one is chosen.
 */
data class Draft(
    val prompt: String = "",
    val seed: String = "",
    val locked: Boolean = false,
    val source: Source? = null,
    val size: PictureSize? = null,
    val editSize: PictureSize? = null,
) {
    val mode: Mode get() = if (source == null) Mode.GENERATE else Mode.EDIT

    /** With a size chosen for what is drawn next. */
    fun sized(size: PictureSize): Draft = if (source == null) copy(size = size) else copy(editSize = size)
}

/** Something to tell; [detail] is the library's own message, with the mend. */
data class Notice(val kind: Kind, val detail: String = "") {
    enum class Kind {
        CUT,
        STOPPED,
        INTERRUPTED,
        SAVED,
        NOT_SAVED,
        NO_BUNDLE,
        BAD_SEED,
        BAD_PICTURE,
        BAD_BUNDLE,
        WRONG_SOC,
        QNN_TOO_OLD,
        OUT_OF_MEMORY,
        MISSING_OPERATOR,
        FAILED,
    }

    companion object {
        fun of(fault: Fault): Kind = when (fault) {
            Fault.WRONG_SOC -> Kind.WRONG_SOC
            Fault.QNN_TOO_OLD -> Kind.QNN_TOO_OLD
            Fault.OUT_OF_MEMORY -> Kind.OUT_OF_MEMORY
            Fault.MISSING_OPERATOR -> Kind.MISSING_OPERATOR
            Fault.BAD_PROGRAM -> Kind.BAD_BUNDLE
            Fault.OTHER -> Kind.FAILED
        }
    }
}

/** A bundle that `adb push` left on the phone. */
data class PushedBundle(val path: String, val label: String)

/** What every screen can show, whatever goes on. [shown]: the picture on the easel, an id of [history]. */
data class Desk(
    val page: Page = Page.STUDIO,
    val draft: Draft = Draft(),
    val bundles: List<BundleCard> = emptyList(),
    val current: String? = null,
    val pushed: List<PushedBundle> = emptyList(),
    val history: List<HistoryEntry> = emptyList(),
    val shown: String? = null,
    val notice: Notice? = null,
    val phone: PhoneFacts = PhoneFacts(),
) {
    val bundle: BundleCard? get() = bundles.firstOrNull { it.name == current }

    /** What is drawn next, in the bundle in use. */
    val size: PictureSize? get() = bundle?.size(draft)
    val entry: HistoryEntry? get() = history.firstOrNull { it.id == shown }
}

/** A run as it is seen. [stage]: the component that loads or runs; [step] of [steps] are done. */
data class RunView(
    val mode: Mode,
    val seed: ULong,
    val steps: Int,
    val size: PictureSize,
    val stage: String = "",
    val step: Int = 0,
    val preview: Pixels? = null,
    val cooling: Boolean = false,
    val stopping: Boolean = false,
)

/** An import as it is seen, in bytes; [room] is known once the manifest was read. */
data class ImportView(val name: String, val done: Long = 0, val room: Room? = null, val stopping: Boolean = false)

/** The whole app. One thing goes on at a time. */
sealed interface StudioState {
    val desk: Desk

    /** Bundles and history are being read. */
    data class Starting(override val desk: Desk = Desk()) : StudioState

    data class NoBundle(override val desk: Desk) : StudioState

    data class Ready(override val desk: Desk) : StudioState

    data class Running(override val desk: Desk, val run: RunView) : StudioState

    data class Importing(override val desk: Desk, val work: ImportView) : StudioState
}
