package dreamlite.executorch

import dreamlite.core.Bundle
import dreamlite.core.Mode
import dreamlite.core.Pipeline
import dreamlite.core.Progress
import dreamlite.core.Session
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.pytorch.executorch.Module
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** A bundle of two sizes over one set of programs. Oracle: the Python runtime's pictures through the same bundle. */
class SizesTest {
    private val made = folder("dreamlite.sized")
    private val golden = GoldenRuns(made)
    private val bundle = Bundle.open(made.resolve("bundle"))
    private val factory = ExecuTorchFactory(Runtime(bundle.manifest.needs.executorch!!, null, null), threads = 1)

    @AfterTest
    fun `nothing stays open`() = assertEquals(0, Module.openModules())

    @Test
    fun `pictures of the second size are Python's, after one of the first`() = runBlocking {
        val second = bundle.manifest.sizes[1].sides
        Session(bundle, factory).use { session ->
            val pipeline = Pipeline(session)
            pipeline.generate(golden.prompt, golden.seed, steps = 1).toList()
            for (mode in Mode.entries) {
                val told = if (mode == Mode.GENERATE) {
                    pipeline.generate(golden.prompt, golden.seed, golden.steps, second).toList()
                } else {
                    pipeline.edit(golden.source, golden.instruction, golden.seed, golden.steps, second).toList()
                }
                val found = GoldenRuns.Made(told.filterIsInstance<Progress.Step>().map { it.latents }, told.last() as Progress.Done)
                val distance = golden.distance(mode, found)
                assertTrue(distance.latents <= 1e-5 && distance.picture >= 60.0, "${mode.key}: $distance")
            }
        }
    }
}
