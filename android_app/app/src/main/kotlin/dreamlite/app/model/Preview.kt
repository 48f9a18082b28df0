package dreamlite.app.model

import dreamlite.core.Progress

/** Pixels of a preview, ARGB, row by row. */
class Pixels(val width: Int, val height: Int, val argb: IntArray)

/**
 * A picture of each step, from latents alone: 8 times smaller a side than the result, and cheap. The decoder would show more,
 * but costs a fifth of a step and, where one component fits in memory, throws the U-Net out after every step.
 *
 * Latents in mid-run are mostly noise, so what is shown is where the step points: the velocity is what changed since the
 * latents before, and a straight line along it ends at the expected picture.
 */
class Preview(noise: FloatArray, private val sigmas: FloatArray, private val width: Int, private val colours: LatentColours) {
    private var before = noise

    fun of(step: Progress.Step): Pixels {
        val clean = expected(step)
        before = step.latents
        val cells = clean.size / LatentColours.CHANNELS
        val argb = IntArray(cells) { cell -> colours.colour { channel -> clean[channel * cells + cell] } }
        return Pixels(width, cells / width, argb)
    }

    private fun expected(step: Progress.Step): FloatArray {
        val (from, to) = sigmas[step.index] to sigmas[step.index + 1]
        val ahead = to / (from - to)
        return FloatArray(step.latents.size) { step.latents[it] + ahead * (step.latents[it] - before[it]) }
    }
}
