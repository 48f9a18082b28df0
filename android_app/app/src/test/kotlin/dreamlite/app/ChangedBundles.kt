package dreamlite.app

import dreamlite.core.DIGEST_NAME
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.sha256
import org.json.JSONObject
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** A copy of the exported bundle, to be spoiled. */
fun copiedBundle(): Path {
    val folder = Files.createTempDirectory("copied").resolve("tiny")
    Files.walk(exportedBundle()).use { paths -> paths.toList() }.forEach {
        val target = folder.resolve(exportedBundle().relativize(it).toString())
        if (Files.isDirectory(it)) Files.createDirectories(target) else Files.copy(it, target)
    }
    return folder
}

/** A copy whose manifest is changed and signed anew. */
fun changedBundle(change: (JSONObject) -> Unit): Path = copiedBundle().also { folder ->
    val manifest = JSONObject(Files.readString(folder.resolve(MANIFEST_NAME)))
    change(manifest)
    sign(folder, manifest.toString())
}

fun sign(bundle: Path, manifest: String) {
    Files.writeString(bundle.resolve(MANIFEST_NAME), manifest)
    Files.writeString(bundle.resolve(DIGEST_NAME), "${sha256(manifest.toByteArray())}  manifest.json\n")
}

fun assertNothingImported(phone: PhoneInHand) {
    val bundles = phone.parts.home.resolve("bundles")
    assertTrue(!Files.exists(bundles) || Files.list(bundles).use { it.count() } == 0L)
    assertFalse(Files.exists(phone.parts.home.resolve("import.properties")))
}
