package dreamlite.core

import java.nio.FloatBuffer
import kotlin.math.exp

/** The flow-match Euler schedule: `dreamlite_mobile/scheduler.py`, float32 with the same order of operations. */
public object Schedule {
    private const val PATCH = 2
    internal const val ROW = 4096

    /**
     * Noise levels of a run of [steps] steps on a picture of [width] x [height] pixels: steps + 1 values from 1 to 0.
     *
     * @throws ConfigException steps outside 1...50, or a side shorter than one latent.
     */
    public fun sigmas(steps: Int, width: Int, height: Int, vaeScale: Int, config: ScheduleConfig): FloatArray {
        checkSteps(steps)
        if (width < vaeScale || height < vaeScale) {
            throw ConfigException("size ${width}x$height: a side is shorter than one latent; give at least ${vaeScale}x$vaeScale pixels")
        }
        val positions = (width / vaeScale) * (height / vaeScale) / (PATCH * PATCH)
        val moved = exp(mu(positions, config)).toFloat()
        val (fixed, fixedLess) = config.shift.toFloat() to (config.shift - 1).toFloat()
        return FloatArray(steps + 1) { index ->
            val even = even(steps, index)
            when {
                index == steps -> 0f
                config.useDynamicShifting -> moved / (moved + (1f / even - 1f))
                else -> fixed * even / (1f + fixedLess * even)
            }
        }
    }

    /** Refuses a step count outside 1...50. */
    public fun checkSteps(steps: Int) {
        if (steps !in 1..Manifest.MAX_STEPS) {
            throw ConfigException("steps: found $steps; supported are 1 to ${Manifest.MAX_STEPS} (DreamLite-mobile was distilled for 4)")
        }
    }

    /**
     * One Euler step in place: latents += (next - sigma) * velocity, in float32; [velocity] is read from its start, by pieces as
     * long as [row], which may be passed again.
     */
    public fun eulerStep(latents: FloatArray, velocity: FloatBuffer, sigma: Float, next: Float, row: FloatArray = FloatArray(ROW)) {
        val dt = next - sigma
        val source = velocity.duplicate().apply { clear() }
        for (first in latents.indices step row.size) {
            val count = minOf(row.size, latents.size - first)
            source.get(row, 0, count)
            for (index in 0 until count) latents[first + index] += dt * row[index]
        }
    }

    private fun mu(positions: Int, config: ScheduleConfig): Double {
        val slope = (config.maxShift - config.baseShift) / (config.maxImageSeqLen - config.baseImageSeqLen)
        return positions * slope + (config.baseShift - slope * config.baseImageSeqLen)
    }

    /** Element [index] of the line from 1 to 1/steps in [steps] values. */
    private fun even(steps: Int, index: Int): Float {
        val last = 1.0 / steps
        if (steps == 1) return 1f
        if (index >= steps - 1) return last.toFloat()
        return (index * ((last - 1.0) / (steps - 1)) + 1.0).toFloat()
    }
}
