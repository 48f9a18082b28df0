package dreamlite.app

import dreamlite.app.model.StudioState
import dreamlite.core.MANIFEST_NAME
import org.json.JSONObject
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowBuild
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** Bundles that cannot be used: each is refused with its reason and a mend, and leaves nothing behind. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class RefusalsTest {
    @After
    fun putDown() = PhoneInHand.putDown()

    private fun assertRefused(bundle: Path, title: String, vararg words: String, prepare: (PhoneInHand) -> Unit = {}) {
        val phone = PhoneInHand().also(prepare)
        phone.screen.tap("Models")
        phone.importZip(bundle)
        phone.screen.awaitWords(title)
        assertTrue(phone.screen.words().any { said -> words.all { it in said } }, phone.screen.words().toString())
        assertIs<StudioState.NoBundle>(phone.state)
        assertNothingImported(phone)
    }

    @Test
    fun `more memory than the phone has`() =
        assertRefused(exportedBundle(), UNUSABLE, "this phone has 1 MB") { it.parts.memory = 1_000_000 }

    @Test
    fun `a byte that is another`() {
        val broken = copiedBundle()
        val unet = broken.resolve("unet.pte")
        Files.write(unet, Files.readAllBytes(unet).also { it[it.size / 2] = (it[it.size / 2] + 1).toByte() })
        assertRefused(broken, UNUSABLE, "unet.pte", "sha256")
    }

    @Test
    fun `a file that is missing`() {
        val part = copiedBundle().also { Files.delete(it.resolve("unet.pte")) }
        assertRefused(part, UNUSABLE, "lacks 'unet.pte'")
    }

    @Test
    fun `no decoder`() {
        val part = changedBundle {
            it.getJSONObject("components").remove("vae_decoder")
            it.getJSONObject("files").remove("vae_decoder.pte")
        }
        Files.delete(part.resolve("vae_decoder.pte"))
        assertRefused(part, UNUSABLE, "needs vae_decoder, which it lacks")
    }

    @Test
    fun `a schema of the future`() = assertRefused(changedBundle { it.put("schema_version", 5) }, UNUSABLE, "Update the app.")

    @Test
    fun `a path that leaves the folder`() {
        val leaving = changedBundle {
            val files = it.getJSONObject("files")
            files.put("../../unet.pte", files.remove("unet.pte"))
        }
        assertRefused(leaving, UNUSABLE, "../../unet.pte")
    }

    @Test
    fun `another chip, which is named with the right one`() {
        ShadowBuild.setSystemOnChipModel("SM8650")
        assertRefused(compiledFor("SM8750"), "This model is for another chip", "compiled for SM8750, this phone has SM8650")
    }

    @Test
    fun `a compiler newer than the QNN of the app`() {
        ShadowBuild.setSystemOnChipModel("SM8750")
        assertRefused(compiledFor("SM8750"), "This app is too old for the model", "needs QNN 2.49.40 or newer")
    }

    private fun compiledFor(soc: String): Path = changedBundle {
        it.put("backend", "qnn").put("target", soc)
        it.getJSONObject("needs").put("qnn", "2.49.40")
        val htp = JSONObject(mapOf("soc" to soc, "chipset" to 69, "architecture" to "V79", "vtcm_mb" to 8))
        it.put("htp", htp.put("qnn_build", "v2.49.40").put("shared_weights", true))
    }

    @Test
    fun `what is no manifest`() = assertRefused(copiedBundle().also { sign(it, "[]") }, UNUSABLE, "$MANIFEST_NAME: not an object")

    private companion object {
        const val UNUSABLE = "This model cannot be used"
    }
}
