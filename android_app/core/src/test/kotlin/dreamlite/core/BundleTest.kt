package dreamlite.core

import org.junit.jupiter.api.io.TempDir
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** A bundle's folder against its manifest. */
class BundleTest {
    @TempDir
    lateinit var folder: Path

    private val fake by lazy { FakeBundle(folder) }

    private fun refused(hashes: Boolean = true) = assertFailsWith<BundleException> { Bundle.open(fake.path, hashes) }.message!!

    @Test
    fun `a sound bundle opens and every byte is hashed`() {
        var hashed = 0L
        val bundle = Bundle.open(fake.path) { hashed += it }
        assertEquals(bundle.manifest.files.values.sumOf { it.bytes }, hashed)
    }

    @Test
    fun `a changed byte is named, and found by digests only`() {
        val file = fake.path.resolve("unet.pte")
        Files.write(file, Files.readAllBytes(file).also { it[7] = 1 })
        assertContains(refused(), "file 'unet.pte' has sha256")
        Bundle.open(fake.path, hashes = false)
    }

    @Test
    fun `a short, a missing and a strange file are all named`() {
        Files.write(fake.path.resolve("unet.pte"), ByteArray(2))
        Files.delete(fake.path.resolve("vae_decoder.pte"))
        Files.write(fake.path.resolve("notes.txt"), ByteArray(2))
        Files.createDirectory(fake.path.resolve("empty"))
        val message = refused(hashes = false)
        for (problem in listOf(
            "'unet.pte' has 2 bytes",
            "'vae_decoder.pte' is missing",
            "'notes.txt' is not in the manifest",
            "folder 'empty'",
        )) {
            assertContains(message, problem)
        }
    }

    @Test
    fun `a symbolic link is refused`() {
        val file = fake.path.resolve("unet.pte")
        Files.move(file, folder.resolveSibling("${folder.fileName}-elsewhere"))
        Files.createSymbolicLink(file, folder.resolveSibling("${folder.fileName}-elsewhere"))
        assertContains(refused(), "symbolic link")
    }

    @Test
    fun `a manifest changed after export is refused`() {
        fake.sign(Golden.json("manifests.json")["base"], digest = "0".repeat(64))
        assertContains(refused(), "changed after export")
    }

    @Test
    fun `a newer schema is named before anything else`() {
        fake.change("schema_version", value = Json.Number("5"))
        assertContains(refused(), "Update the app")
    }

    @Test
    fun `a folder without a manifest is no bundle`() {
        Files.delete(fake.path.resolve(MANIFEST_NAME))
        assertContains(refused(), "has no manifest.json")
    }

    @Test
    fun `a missing component is named with the mode that needs it`() {
        fake.change("components", "vision_encoder", value = null)
        fake.change("files", "vision_encoder.pte", value = null)
        Files.delete(fake.path.resolve("vision_encoder.pte"))
        val without = Bundle.open(fake.path)
        without.require(Mode.GENERATE)
        val message = assertFailsWith<BundleException> { without.require(Mode.EDIT) }.message!!
        assertContains(message, "edit needs vision_encoder")
    }

    @Test
    fun `a file of more bytes than can be added up is refused`() {
        fake.change("files", "unet.pte", "bytes", value = Json.Number("${Long.MAX_VALUE / 2}"))
        assertContains(refused(), "files.unet.pte.bytes: must be in 0...1099511627776")
    }

    @Test
    fun `memory decides what stays loaded`() {
        val manifest = Bundle.open(fake.path).manifest
        val estimate = manifest.memoryEstimate(Mode.EDIT)
        assertTrue(estimate.largest < estimate.all)
        assertEquals(COMPONENTS.toSet(), estimate.byComponent.keys)
        assertEquals(Residency.KEEP_ALL, manifest.residency(Mode.EDIT, estimate.all))
        assertEquals(Residency.ONE_AT_A_TIME, manifest.residency(Mode.EDIT, estimate.all - 1))
        val message = assertFailsWith<BundleException> { manifest.residency(Mode.EDIT, estimate.largest - 1) }.message!!
        assertContains(message, "MB are free")
    }

    @Test
    fun `each program of a chain keeps room for what it gives`() {
        val manifest = Bundle.open(fake.path).manifest
        val picture = HandedSpec("picture", HandedDtype.FLOAT16, listOf(1, 8, 16, 32))
        val shards = List(3) { ShardEntry(listOf(picture), listOf(picture)) }
        val whole = manifest.components.getValue("unet")
        val cut = whole.copy(methods = whole.methods.mapValues { (_, method) -> method.copy(shards = shards) })
        val (before, after) = listOf(manifest, manifest.copy(components = manifest.components + ("unet" to cut))).map {
            it.memoryEstimate(Mode.GENERATE)
        }
        val handed = 3L * 2 * 8 * 16 * 32
        assertEquals(handed, after.byComponent.getValue("unet") - before.byComponent.getValue("unet"))
        assertEquals(handed, after.all - before.all)
    }
}
