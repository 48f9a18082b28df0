package dreamlite.executorch

import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.ComponentException
import dreamlite.core.Fault
import dreamlite.core.HandedDtype
import dreamlite.core.Mode
import dreamlite.core.floatBuffer
import kotlinx.coroutines.runBlocking
import org.pytorch.executorch.Module
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** A text encoder in two programs with fp16 between them, as the exporter cuts for the NPU, here of XNNPACK programs. */
class ShardsTest {
    private val made = folder("dreamlite.sharded")
    private val bundle = Bundle.open(made.resolve("bundle"))
    private val factory = ExecuTorchFactory(Runtime(bundle.manifest.needs.executorch!!, null, null), threads = 1)
    private val entry = bundle.component("text_encoder").methods.getValue("generate")

    @AfterTest
    fun `nothing stays open`() = assertEquals(0, Module.openModules())

    /** Oracle: the Python runtime's chain over the same programs. That the cut is real: the uncut bundle differs, by fp16's rounding. */
    private fun assertNear(mode: Mode) = runBlocking {
        val found = Runs.make(bundle, factory, mode)
        val (python, whole) = GoldenRuns(made).distance(mode, found) to Runs.distance(mode, found)
        println("shards ${mode.key}: latents ${"%.1e".format(python.latents)}, against the uncut ${"%.1e".format(whole.latents)}")
        assertTrue(python.latents <= 1e-5 && python.picture >= 60.0, python.toString())
        assertTrue(whole.latents > 1e-6 && whole.latents < 1e-2, whole.toString())
    }

    @Test
    fun `a generated picture is Python's`() = assertNear(Mode.GENERATE)

    @Test
    fun `an edited picture is Python's`() = assertNear(Mode.EDIT)

    @Test
    fun `what is handed on is fp16`() {
        assertEquals(2, entry.shards.size)
        assertTrue(entry.shards[0].outputs.isNotEmpty() && entry.shards[0].outputs.all { it.dtype == HandedDtype.FLOAT16 })
    }

    @Test
    fun `all programs of a method are open while it is loaded`() {
        factory.open(bundle, "text_encoder").use {
            it.load("generate")
            assertEquals(2, Module.openModules())
            it.load("edit")
            assertEquals(2, Module.openModules())
        }
    }

    private fun component(changed: dreamlite.core.MethodEntry) = ExecuTorchComponent(
        "text_encoder",
        mapOf("generate" to chainOf("text_encoder", changed) { bundle.file(it).toString() }),
        1,
    )

    @Test
    fun `a program that gives something else than the manifest says is named`() {
        val first = entry.shards[0]
        val other = first.copy(outputs = first.outputs.map { it.copy(dtype = HandedDtype.FLOAT32) })
        component(entry.copy(shards = listOf(other) + entry.shards.drop(1))).use {
            val inputs = entry.inputs.associate { spec -> spec.name to floatBuffer(spec.count) }
            val error = assertFailsWith<ComponentException> { it.run("generate", inputs) }
            assertEquals(Fault.BAD_PROGRAM, error.fault)
            assertContains(error.message!!, "output '${first.outputs[0].name}' is HALF")
        }
    }

    @Test
    fun `programs in the wrong order fail by the place, and free the others`() {
        val swapped = entry.copy(file = entry.then[0], then = listOf(entry.file))
        component(swapped).use {
            val inputs = entry.inputs.associate { spec -> spec.name to floatBuffer(spec.count) }
            val error = assertFailsWith<ComponentException> { it.run("generate", inputs) }
            assertContains(error.message!!, "program 1 of 2")
        }
    }

    @Test
    fun `programs that do not say what they hand on are refused`() {
        val error = assertFailsWith<BundleException> { component(entry.copy(shards = emptyList())) }
        assertContains(error.message!!, "cut into 2 programs, without what they hand on")
    }
}
