package dreamlite.core.bench

import dreamlite.core.ConfigException
import dreamlite.core.Golden
import dreamlite.core.Json
import dreamlite.core.all
import dreamlite.core.changed
import dreamlite.core.get
import dreamlite.core.has
import dreamlite.core.text
import dreamlite.core.write
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Oracle: the Python side, over the very golden files that its tests read, and over changes to them of one place. */
class GoldenBenchTest {
    private val folder = Path.of("../../dreamlite_mobile/device/schemas")
    private val files = mapOf(
        "golden-request-generate.json" to ::request,
        "golden-request-edit.json" to ::request,
        "golden-result-generate.json" to ::result,
        "golden-result-refused.json" to ::result,
    )

    private fun request(text: String) = RunRequest.read(text.toByteArray()).toJson()

    private fun result(text: String) = RunResult.read(text.toByteArray()).toJson()

    private fun bytes(name: String) = Files.readAllBytes(folder.resolve(name))

    @Test
    fun `every golden file is read and written back byte for byte`() {
        val there = Files.list(folder).use { all -> all.map { "${it.fileName}" }.filter { it.startsWith("golden-") }.toList() }
        assertEquals(files.keys, there.toSet())
        for ((name, reader) in files) assertEquals(bytes(name).decodeToString(), reader(bytes(name).decodeToString()), name)
    }

    @Test
    fun `a changed document is accepted or refused as by Python`() {
        for ((name, reader) in files) {
            val (base, changes) = Golden.json("bench.json")[name].let { it["base"] to it["changes"].all }
            assertTrue(changes.size > 200, "$name: only ${changes.size} changes")
            val wrong = changes.mapNotNull { change ->
                val path = change["path"].all.map { if (it is Json.Text) it.text else (it as Json.Number).text }
                val value = (change as Json.Members).values["value"]
                val found = verdict { reader(write(base.changed(path, value))) }
                val agrees = (found != null) == change.has("refused")
                if (agrees) null else "$path = ${value?.let(::write)}: $found, Python: ${write(change["refused"])}"
            }
            assertEquals(emptyList(), wrong.take(30), "$name: ${wrong.size} of ${changes.size} differ")
        }
    }

    @Test
    fun `a refusal names its place and what is supported`() {
        val base = Golden.json("bench.json")["golden-request-generate.json"]["base"]
        val broken = base.changed(listOf("seed"), Json.Number("-1"))
        val message = assertFailsWith<ConfigException> { request(write(broken)) }.message!!
        assertEquals(
            "request.json: seed: must be a whole number in 0...18446744073709551615 (found -1). " +
                "The app and `dreamlite bench` must be of one version.",
            message,
        )
    }

    @Test
    fun `what is no JSON is refused`() {
        for (text in listOf("", "{", "[]", "null", "{} x", """{"version": NaN}""", """{"id": "a", "id": "a"}""")) {
            assertTrue(verdict { request(text) } != null, text)
        }
        assertFailsWith<ConfigException> { RunRequest.read(byteArrayOf('{'.code.toByte(), 0xC3.toByte(), '}'.code.toByte())) }
    }

    @Test
    fun `text of any kind survives`() {
        val prompt = "a \"quote\" \\ back, tab\t, line\n, control\u0001, ü, 黄, 🎈"
        val one = RunRequest.read(bytes("golden-request-edit.json")).copy(prompt = prompt, sustainS = 1e-7)
        assertEquals(one, RunRequest.read(one.toJson().toByteArray()))
    }

    private fun verdict(read: () -> Unit): String? = try {
        read()
        null
    } catch (error: ConfigException) {
        error.message
    }
}
