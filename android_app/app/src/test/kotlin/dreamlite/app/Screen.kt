package dreamlite.app

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import androidx.compose.ui.ExperimentalComposeUiApi
import androidx.compose.ui.platform.ViewRootForTest
import androidx.compose.ui.semantics.SemanticsActions
import androidx.compose.ui.semantics.SemanticsNode
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getAllSemanticsNodes
import androidx.compose.ui.semantics.getOrNull
import androidx.compose.ui.text.AnnotatedString
import org.robolectric.Shadows.shadowOf
import java.io.File
import java.util.concurrent.TimeUnit

/** A screen as TalkBack finds it: nodes with words, that are tapped and typed into. */
class Screen(private val activity: () -> Activity) {
    /** Everything that can be read, or is a control without words. */
    fun nodes(): List<SemanticsNode> = roots(activity().window.decorView)
        .flatMap { it.semanticsOwner.getAllSemanticsNodes(mergingEnabled = true) }

    fun words(): List<String> = nodes().flatMap(::wordsOf)

    fun has(words: String) = find(words) != null

    fun tap(words: String) {
        idle()
        val node = button(words)
        check(SemanticsProperties.Disabled !in node.config) { "button '$words' is disabled" }
        node.config[SemanticsActions.OnClick].action!!()
        idle()
    }

    fun isEnabled(words: String): Boolean = SemanticsProperties.Disabled !in button(words).config

    fun type(label: String, text: String) {
        idle()
        field(label).config[SemanticsActions.SetText].action!!(AnnotatedString(text))
        idle()
    }

    fun valueOf(label: String): String = field(label).config[SemanticsProperties.EditableText].text

    /** Lets the app work until [what] holds and is on the screen; fails after [seconds], saying what is on the screen. */
    fun await(what: String, seconds: Int = 60, holds: () -> Boolean) {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds.toLong())
        while (true) {
            idle()
            if (holds()) return idle()
            check(System.nanoTime() < end) { "$what: not within $seconds s; on the screen: ${words()}" }
            Thread.sleep(5)
        }
    }

    fun awaitWords(words: String) = await("'$words'") { has(words) }

    /** Nothing is drawn under Robolectric unless asked, and Compose lays out what changed when it draws. */
    @OptIn(ExperimentalComposeUiApi::class)
    fun idle() {
        shadowOf(Looper.getMainLooper()).idleFor(40, TimeUnit.MILLISECONDS)
        roots(activity().window.decorView).forEach { it.measureAndLayoutForTest() }
    }

    /** What the screen shows, as a PNG in target/screenshots. */
    fun shoot(name: String): Bitmap {
        repeat(4) {
            idle()
            Thread.sleep(20)
        }
        val view = activity().window.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
        val file = File("target/screenshots").apply { mkdirs() }.resolve("$name.png")
        file.outputStream().use { check(bitmap.compress(Bitmap.CompressFormat.PNG, 100, it)) }
        return bitmap
    }

    private fun button(words: String) =
        requireNotNull(find(words) { SemanticsActions.OnClick in it.config }) { "no button '$words' in ${words()}" }

    private fun field(label: String) =
        requireNotNull(find(label) { SemanticsActions.SetText in it.config }) { "no field '$label' in ${words()}" }

    private fun find(words: String, also: (SemanticsNode) -> Boolean = { true }) = nodes().firstOrNull { words in wordsOf(it) && also(it) }

    private fun wordsOf(node: SemanticsNode): List<String> = node.config.getOrNull(SemanticsProperties.Text).orEmpty().map { it.text } +
        node.config.getOrNull(SemanticsProperties.ContentDescription).orEmpty()

    private fun roots(view: View): List<ViewRootForTest> = when (view) {
        is ViewRootForTest -> listOf(view)
        is ViewGroup -> (0 until view.childCount).flatMap { roots(view.getChildAt(it)) }
        else -> emptyList()
    }
}
