package dreamlite.core

/** What a run tells while it goes on; [Done] comes last and once. */
public sealed interface Progress {
    /** The end of the prompt, [lost], did not fit and is not read. First, where it comes at all. */
    public data class PromptCut(val lost: String) : Progress

    /** A component begins to load or run. [name] is the component's; `unet` is told once, its steps follow. */
    public data class Stage(val name: String) : Progress

    /** After one denoising step, in [seconds] of U-Net time: [latents] [1, 4, h, w] are the receiver's to keep. */
    public class Step(
        public val index: Int,
        public val steps: Int,
        public val sigma: Float,
        public val latents: FloatArray,
        public val seconds: Double,
    ) : Progress

    /** The picture, the final latents it was decoded from, and where the time went. */
    public class Done(public val picture: Picture, public val latents: FloatArray, public val timings: Timings) : Progress
}

/** Seconds of one run by component, `loading` apart; [total] also holds what is outside of components. */
public data class Timings(val byStage: Map<String, Double>, val total: Double) {
    /** Seconds outside the components: text, noise, steps, pixels. */
    public val overhead: Double get() = total - byStage.values.sum()

    public companion object {
        public const val LOADING: String = "loading"
    }
}

/** Adds up what components take. */
internal class Stopwatch {
    private val begin = System.nanoTime()
    private val stages = LinkedHashMap<String, Long>()

    inline fun <T> time(stage: String, work: () -> T): T {
        val start = System.nanoTime()
        try {
            return work()
        } finally {
            add(stage, System.nanoTime() - start)
        }
    }

    fun add(stage: String, nanos: Long) {
        stages[stage] = (stages[stage] ?: 0L) + nanos
    }

    fun timings() = Timings(stages.mapValues { it.value / NANOS }, (System.nanoTime() - begin) / NANOS)

    private companion object {
        const val NANOS = 1e9
    }
}
