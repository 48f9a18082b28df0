package dreamlite.core

import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.Path
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Import: what arrives is whole and checked, what is refused leaves nothing. */
class BundleStoreTest {
    @TempDir
    lateinit var folder: Path

    private val fake by lazy { FakeBundle(folder.resolve("pushed")) }
    private val home by lazy { Files.createDirectories(folder.resolve("bundles")) }
    private var free = Long.MAX_VALUE
    private val store by lazy { BundleStore(home) { free } }

    private fun left() = Files.list(home).use { it.toList() }.map { it.fileName.toString() }

    private fun refused(source: BundleSource = FolderSource(fake.path)): String {
        val message = assertFailsWith<BundleException> { store.import(source, "mine") }.message!!
        assertEquals(emptyList(), left())
        return message
    }

    private fun refused(zip: () -> InputStream) = refused(ZipSource(zip))

    private fun zip(prefix: String = "", change: (ZipOutputStream) -> Unit = {}): ZipSource {
        val bytes = zipped(prefix, change)
        return ZipSource { bytes.inputStream() }
    }

    private fun zipped(prefix: String = "", change: (ZipOutputStream) -> Unit = {}): ByteArray {
        val bytes = ByteArrayOutputStream()
        ZipOutputStream(bytes).use { out ->
            FolderSource(fake.path).read { name, stream ->
                out.putNextEntry(ZipEntry(prefix + name))
                stream.copyTo(out)
                true
            }
            change(out)
        }
        return bytes.toByteArray()
    }

    /** Fails after so many files, as a card that is pulled out does. */
    private class Torn(private val source: BundleSource, private val whole: Int) : BundleSource {
        override fun read(each: (String, InputStream) -> Boolean) {
            var seen = 0
            source.read { name, stream -> if (++seen > whole) throw IOException("gone") else each(name, stream) }
        }
    }

    @Test
    fun `a folder arrives whole and its bytes are told`() {
        var told = 0L
        val path = store.import(FolderSource(fake.path), "mine") { told += it }
        assertEquals(Bundle.open(path).manifest.files.values.sumOf { it.bytes }, told)
        assertEquals(listOf("mine"), store.names())
        assertEquals(listOf("mine"), left())
    }

    @Test
    fun `a zip arrives whole, with or without a folder in it`() {
        for (prefix in listOf("", "bundle/")) Bundle.open(store.import(zip(prefix), "mine${prefix.length}"))
        assertEquals(2, store.names().size)
    }

    @Test
    fun `a path that leaves the folder is refused`() {
        val source = zip {
            it.putNextEntry(ZipEntry("../../evil.txt"))
            it.write(1)
        }
        assertContains(refused(source), "'../../evil.txt' is not in the manifest")
        assertTrue(!Files.exists(folder.resolve("evil.txt")))
    }

    @Test
    fun `a zip bomb is stopped at the size that the manifest lists`() {
        Files.write(fake.path.resolve("unet.pte"), ByteArray(64 shl 20))
        assertContains(refused(zip()), "file 'unet.pte' holds more than the 300 bytes")
    }

    @Test
    fun `a zip that is damaged or cut off is refused and leaves nothing`() {
        val whole = zipped()
        assertContains(refused { whole.copyOf(whole.size / 2).inputStream() }, "the zip is cut off")
        val damaged = whole.copyOf().also { it.fill(-1, whole.size / 2, whole.size / 2 + 500) }
        assertContains(refused { damaged.inputStream() }, "the zip is damaged")
    }

    @Test
    fun `a file called like another's part is not lost`() {
        val name = "unet.pte.part"
        Files.write(fake.path.resolve(name), ByteArray(3))
        fake.change("documents", value = Json.Elements(listOf(Json.Text(name))))
        val entry = mapOf("bytes" to Json.Number("3"), "sha256" to Json.Text(sha256(ByteArray(3))))
        fake.change("files", name, value = Json.Members(entry))
        for (source in listOf(FolderSource(fake.path), Backwards(FolderSource(fake.path)))) {
            Bundle.open(store.import(source, "mine"))
            store.delete("mine")
        }
    }

    private class Backwards(private val source: BundleSource) : BundleSource {
        override fun read(each: (String, InputStream) -> Boolean) {
            val found = ArrayList<Pair<String, ByteArray>>()
            source.read { name, stream -> found.add(name to stream.readBytes()) }
            for ((name, bytes) in found.asReversed()) if (!each(name, bytes.inputStream())) return
        }
    }

    @Test
    fun `a broken hash, a missing and a strange file are refused`() {
        Files.write(fake.path.resolve("unet.pte"), ByteArray(300) { 1 })
        assertContains(refused(), "file 'unet.pte' has sha256")
        Files.delete(fake.path.resolve("unet.pte"))
        assertContains(refused(), "lacks 'unet.pte'")
        Files.write(fake.path.resolve("notes.txt"), ByteArray(3))
        assertContains(refused(), "'notes.txt' is not in the manifest")
    }

    @Test
    fun `what the app cannot run is refused before anything is copied`() {
        val error = assertFailsWith<BundleException> {
            store.import(FolderSource(fake.path), "mine", check = { it.residency(Mode.EDIT, 1) })
        }
        assertContains(error.message!!, "MB are free")
        assertEquals(emptyList(), left())
    }

    @Test
    fun `too little room is refused with both numbers`() {
        free = 1_000_000
        assertContains(refused(), "1 MB are free")
    }

    @Test
    fun `an import that was cut off goes on where it was`() {
        assertFailsWith<IOException> { store.import(Torn(FolderSource(fake.path), 6), "mine") }
        assertEquals(emptyList(), store.names())
        val done = Files.walk(home).use { paths -> paths.toList() }.filter {
            it.fileName.toString().endsWith(".pte") ||
                it.fileName.toString().endsWith(".bin")
        }
        assertTrue(done.isNotEmpty())
        val before = done.associateWith { Files.getLastModifiedTime(it) }
        val path = store.import(FolderSource(fake.path), "mine")
        Bundle.open(path)
        for ((file, time) in before) assertEquals(time, Files.getLastModifiedTime(path.resolve(file.fileName)), "$file was copied again")
    }

    @Test
    fun `what will not go on is removed`() {
        store.import(FolderSource(fake.path), "whole")
        for (name in listOf("kept", "gone")) {
            assertFailsWith<IOException> { store.import(Torn(FolderSource(fake.path), 6), name) }
        }
        store.clearUnfinished("kept")
        assertEquals(listOf("kept.part", "whole"), left().sorted())
        store.clearUnfinished(null)
        assertEquals(listOf("whole"), left())
    }

    @Test
    fun `what another bundle left under the name is not mixed in`() {
        assertFailsWith<IOException> { store.import(Torn(FolderSource(fake.path), 6), "mine") }
        val other = FakeBundle(folder.resolve("other"), side = 128)
        assertEquals(128, Bundle.open(store.import(FolderSource(other.path), "mine")).manifest.size.width)
    }

    @Test
    fun `a name that is taken or no name is refused`() {
        store.import(FolderSource(fake.path), "mine")
        assertContains(assertFailsWith<BundleException> { store.import(FolderSource(fake.path), "mine") }.message!!, "here already")
        for (name in listOf("", "..", "a/b", "a.part")) assertFailsWith<BundleException> { store.import(FolderSource(fake.path), name) }
    }

    @Test
    fun `a deleted bundle is gone`() {
        store.import(FolderSource(fake.path), "mine")
        store.delete("mine")
        assertEquals(emptyList(), left())
        assertContains(assertFailsWith<BundleException> { store.path("mine") }.message!!, "unknown bundle 'mine'")
    }
}
