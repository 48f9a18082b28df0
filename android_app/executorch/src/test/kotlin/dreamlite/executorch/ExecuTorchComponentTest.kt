package dreamlite.executorch

import dreamlite.core.Backend
import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.ComponentException
import dreamlite.core.FORWARD
import dreamlite.core.Fault
import dreamlite.core.HtpEntry
import dreamlite.core.floatBuffer
import org.junit.jupiter.api.io.TempDir
import org.pytorch.executorch.ExecutorchRuntimeException
import org.pytorch.executorch.Module
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertSame
import kotlin.test.assertTrue

/** One real component: what it refuses, what it reuses, what it frees. */
class ExecuTorchComponentTest {
    @TempDir
    lateinit var folder: Path

    private val bundle = Bundle.open(folder("dreamlite.xnnpack"), hashes = false)
    private val runtime = Runtime(bundle.manifest.needs.executorch!!, null, null)
    private val entry = bundle.component("vae_decoder").methods.getValue(FORWARD)

    private fun component(path: Path, methods: Map<String, dreamlite.core.MethodEntry> = mapOf(FORWARD to entry)) =
        ExecuTorchComponent("vae_decoder", methods.mapValues { chainOf("vae_decoder", it.value) { path.toString() } }, 1)

    private fun inputs() = entry.inputs.associate { it.name to floatBuffer(it.count) }

    @AfterTest
    fun `nothing stays open`() = assertEquals(0, Module.openModules())

    @Test
    fun `the same buffers give the same output buffers`() {
        component(bundle.file(entry.file)).use {
            val given = inputs()
            val first = it.run(FORWARD, given)
            val values = first.getValue("image").let { image -> FloatArray(image.capacity(), image::get) }
            given.getValue("latents").put(0, 2f)
            val second = it.run(FORWARD, given)
            assertSame(first.getValue("image"), second.getValue("image"))
            assertTrue(values.indices.any { index -> values[index] != second.getValue("image").get(index) })
        }
    }

    @Test
    fun `inputs of another size are refused`() {
        component(bundle.file(entry.file)).use {
            val error = assertFailsWith<ComponentException> { it.run(FORWARD, mapOf("latents" to floatBuffer(3))) }
            assertContains(error.message!!, "latents [3]; expected direct buffers latents [${entry.inputs[0].count}]")
        }
    }

    @Test
    fun `an unknown method lists the known`() {
        component(bundle.file(entry.file)).use {
            val error = assertFailsWith<ComponentException> { it.load("generate") }
            assertContains(error.message!!, "unknown method 'generate'; known: forward")
        }
    }

    @Test
    fun `a program without the manifest's method is a bad program`() {
        component(bundle.file(entry.file), mapOf("generate" to entry)).use {
            val error = assertFailsWith<ComponentException> { it.load("generate") }
            assertEquals(Fault.BAD_PROGRAM, error.fault)
            assertContains(error.message!!, "the program has only forward")
        }
    }

    @Test
    fun `a damaged program is a bad program`() {
        val path = Files.write(folder.resolve("damaged.pte"), ByteArray(4096) { it.toByte() })
        component(path).use { assertEquals(Fault.BAD_PROGRAM, assertFailsWith<ComponentException> { it.load(FORWARD) }.fault) }
    }

    @Test
    fun `an output of another shape is a bad program`() {
        val other = entry.copy(outputs = entry.outputs.map { it.copy(shape = it.shape + 1) })
        component(bundle.file(entry.file), mapOf(FORWARD to other)).use {
            val error = assertFailsWith<ComponentException> { it.run(FORWARD, inputs()) }
            assertEquals(Fault.BAD_PROGRAM, error.fault)
        }
    }

    @Test
    fun `a closed component loads again`() {
        component(bundle.file(entry.file)).use {
            it.run(FORWARD, inputs())
            it.close()
            assertEquals(0, Module.openModules())
            it.run(FORWARD, inputs())
        }
    }

    @Test
    fun `another executorch is refused`() {
        val error = assertFailsWith<BundleException> { checkRuntime(bundle.manifest, runtime.copy(executorch = "9.9")) }
        assertContains(error.message!!, "this app has 9.9")
    }

    @Test
    fun `a bundle for another backend is refused`() {
        val error =
            assertFailsWith<BundleException> { checkRuntime(Bundle.open(folder("dreamlite.onnx"), hashes = false).manifest, runtime) }
        assertContains(error.message!!, "made for onnx")
    }

    private fun compiledFor(soc: String, qnn: String) = bundle.manifest.copy(
        backend = Backend.QNN,
        target = soc,
        needs = bundle.manifest.needs.copy(qnn = qnn),
        htp = HtpEntry(soc, 57, "V75", 8, qnn, sharedWeights = true),
    )

    @Test
    fun `another chip's bundle names both chips`() {
        val phone = runtime.copy(soc = "SM8650", qnn = "2.49.40")
        val error = assertFailsWith<ComponentException> { checkRuntime(compiledFor("SM8750", "2.49.40"), phone) }
        assertEquals(Fault.WRONG_SOC, error.fault)
        assertContains(error.message!!, "compiled for SM8750, this phone has SM8650")
    }

    @Test
    fun `an older QNN, or none, is refused and a newer one is not`() {
        val phone = runtime.copy(soc = "SM8650", qnn = "2.49.40")
        val manifest = compiledFor("SM8650", "2.49.40")
        checkRuntime(manifest, phone)
        checkRuntime(manifest, phone.copy(qnn = "2.50.0"))
        for (qnn in listOf("2.9.99", null)) {
            val error = assertFailsWith<ComponentException> { checkRuntime(manifest, phone.copy(qnn = qnn)) }
            assertEquals(Fault.QNN_TOO_OLD, error.fault)
        }
    }

    @Test
    fun `versions are compared by their numbers`() {
        assertTrue(isOlder("2.9.0", "2.49.0") && isOlder("2.49", "2.49.1"))
        assertTrue(!isOlder("2.49.40", "2.49.40") && !isOlder("3.0", "2.99.9"))
    }

    @Test
    fun `error numbers have names`() {
        val expected = mapOf(
            ExecutorchRuntimeException.OPERATOR_MISSING to Fault.MISSING_OPERATOR,
            ExecutorchRuntimeException.DELEGATE_MEMORY_ALLOCATION_FAILED to Fault.OUT_OF_MEMORY,
            ExecutorchRuntimeException.INVALID_PROGRAM to Fault.BAD_PROGRAM,
            ExecutorchRuntimeException.DELEGATE_INVALID_COMPATIBILITY to Fault.QNN_TOO_OLD,
            0x7F to Fault.OTHER,
        )
        assertEquals(expected, expected.keys.associateWith(::faultOf))
    }
}
