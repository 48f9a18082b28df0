package dreamlite.executorch

import dreamlite.core.Bundle
import dreamlite.core.ComponentFactory
import dreamlite.core.Mode
import dreamlite.core.Pipeline
import dreamlite.core.Residency
import dreamlite.core.Session
import kotlinx.coroutines.runBlocking
import org.pytorch.executorch.Module
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Oracle: the Python runtime on the same bundle, prompt and seed. Real `.pte` files, run by ExecuTorch's own library. */
class ParityTest {
    private val bundle = Bundle.open(folder("dreamlite.xnnpack"))
    private val factory = ExecuTorchFactory(Runtime(bundle.manifest.needs.executorch!!, null, null), threads = 1)

    private fun assertNear(mode: Mode, bundle: Bundle, factory: ComponentFactory, most: Double) = runBlocking {
        val distance = Runs.distance(mode, Runs.make(bundle, factory, mode))
        println("${bundle.manifest.backend.key} ${mode.key}: latents ${"%.1e".format(distance.latents)}, picture ${distance.picture} dB")
        assertTrue(distance.latents <= most && distance.picture >= 60.0, distance.toString())
    }

    @Test
    fun `a generated picture is Python's`() = assertNear(Mode.GENERATE, bundle, factory, 1e-5)

    @Test
    fun `an edited picture is Python's`() = assertNear(Mode.EDIT, bundle, factory, 1e-5)

    @Test
    fun `onnxruntime is of the same opinion on generate`() =
        assertNear(Mode.GENERATE, Bundle.open(folder("dreamlite.onnx")), OnnxFactory, 1e-4)

    @Test
    fun `onnxruntime is of the same opinion on edit`() = assertNear(Mode.EDIT, Bundle.open(folder("dreamlite.onnx")), OnnxFactory, 1e-4)

    @Test
    fun `one component at a time draws the same and leaves nothing open`() = runBlocking {
        val all = Runs.make(bundle, factory, Mode.EDIT)
        val single = Runs.make(bundle, factory, Mode.EDIT, Residency.ONE_AT_A_TIME)
        assertContentEquals(all.done.latents, single.done.latents)
        assertEquals(0, Module.openModules())
    }

    @Test
    fun `a session draws the same again, whatever it drew between`() = runBlocking {
        Session(bundle, factory).use { session ->
            val pipeline = Pipeline(session)
            val first = Runs.make(pipeline, Mode.GENERATE)
            Runs.make(pipeline, Mode.EDIT)
            assertContentEquals(first.done.latents, Runs.make(pipeline, Mode.GENERATE).done.latents)
        }
        assertEquals(0, Module.openModules())
    }
}
