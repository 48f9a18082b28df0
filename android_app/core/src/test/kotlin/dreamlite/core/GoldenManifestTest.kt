package dreamlite.core

import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Oracle: the verdict of the exporter's `read_manifest` on the same documents. */
class GoldenManifestTest {
    private val document = Golden.json("manifests.json")

    private fun verdict(read: () -> Unit): String? = try {
        read()
        null
    } catch (error: BundleException) {
        error.message
    }

    private fun key(json: Json) = if (json is Json.Number) json.text else json.text

    @Test
    fun `one changed place is accepted or refused as by the exporter`() {
        assertAgrees(document, 1000, accepted = 100)
    }

    @Test
    fun `one changed place of a component in shards is accepted or refused as by the exporter`() {
        assertAgrees(document["sharded"], 100, accepted = 3)
        val chain = readManifest(document["sharded"]["base"]).components.getValue("unet").methods.values.first()
        assertEquals(listOf(2, 1), listOf(chain.shards.size, chain.then.size))
        assertEquals(HandedSpec("middle", HandedDtype.FLOAT16, listOf(1, 4, 8)), chain.shards[0].outputs.single())
    }

    @Test
    fun `one changed place of a manifest with two sizes is accepted or refused as by the exporter`() {
        assertAgrees(document["sized"], 100, accepted = 3)
        val manifest = readManifest(document["sized"]["base"])
        val (first, second) = manifest.sizes.map { it.sides }
        assertEquals(first, manifest.size.sides)
        assertEquals(second, manifest.size(second).sides)
        val methods = manifest.components.getValue("unet").methods.keys.toList()
        assertEquals(listOf("generate", "edit", "generate_$second", "edit_$second"), methods)
        val refused = assertFailsWith<BundleException> { manifest.size(PictureSize(8, 8)) }.message!!
        assertContains(refused, "made for $first, $second, not for 8x8")
    }

    private fun assertAgrees(document: Json, atLeast: Int, accepted: Int) {
        val changes = document["changes"].all
        assertTrue(changes.size > atLeast && changes.count { !it.has("refused") } > accepted)
        val wrong = changes.mapNotNull { change ->
            val path = change["path"].all.map(::key)
            val value = (change as Json.Members).values["value"]
            val found = verdict { readManifest(document["base"].changed(path, value)) }
            val agrees = (found != null) == change.has("refused")
            if (agrees) null else "$path = ${value?.let(::write)}: $found, the exporter: ${write(change["refused"])}"
        }
        assertEquals(emptyList(), wrong.take(30), "${wrong.size} of ${changes.size} differ")
    }

    @Test
    fun `what is no manifest is refused as by the exporter`() {
        for (case in document["texts"].all) {
            val found = verdict { readManifest(case["text"].text.toByteArray()) }
            assertEquals(case.has("refused"), found != null, case["text"].text)
        }
    }

    @Test
    fun `a newer schema says what to update`() {
        val error = assertFailsWith<BundleException> { readManifest("""{"schema_version": 5}""".toByteArray()) }
        assertContains(error.message!!, "schema version 5, this app reads version 4. Update the app.")
    }

    @Test
    fun `a refusal names every place`() {
        val changed = document["base"].changed(listOf("vae", "scale"), Json.Text("8")).changed(listOf("licence"), null)
        val message = assertFailsWith<BundleException> { readManifest(changed) }.message!!
        assertContains(message, "vae.scale: must be a whole number")
    }

    @Test
    fun `bytes that are no UTF-8 are refused`() {
        assertFailsWith<BundleException> { readManifest(byteArrayOf('{'.code.toByte(), 0xC3.toByte(), '}'.code.toByte())) }
    }
}
