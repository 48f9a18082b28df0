package dreamlite.app.ui

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import androidx.compose.foundation.Image
import androidx.compose.foundation.background
import androidx.compose.foundation.gestures.detectHorizontalDragGestures
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Slider
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableFloatStateOf
import androidx.compose.runtime.produceState
import androidx.compose.runtime.remember
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.drawWithContent
import androidx.compose.ui.geometry.Offset
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.graphics.FilterQuality
import androidx.compose.ui.graphics.ImageBitmap
import androidx.compose.ui.graphics.asImageBitmap
import androidx.compose.ui.graphics.drawscope.clipRect
import androidx.compose.ui.input.pointer.pointerInput
import androidx.compose.ui.layout.ContentScale
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.semantics.stateDescription
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.Pixels
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import kotlin.math.roundToInt

/** A picture file, read beside the main thread; null until then and where it is gone. */
@Composable
fun loaded(file: Path?): ImageBitmap? {
    val bitmap by produceState<ImageBitmap?>(null, file) {
        value = file?.let { withContext(Dispatchers.IO) { decoded(it) } }
    }
    return bitmap
}

private fun decoded(file: Path): ImageBitmap? = try {
    Files.newInputStream(file).use(BitmapFactory::decodeStream)?.asImageBitmap()
} catch (_: IOException) {
    null
}

/** Room for the picture, or the picture. */
@Composable
fun FilePicture(file: Path, description: String, modifier: Modifier = Modifier, scale: ContentScale = ContentScale.Fit) {
    val bitmap = loaded(file)
    Box(modifier.background(MaterialTheme.colorScheme.surfaceVariant)) {
        if (bitmap != null) Image(bitmap, description, Modifier.fillMaxSize(), contentScale = scale)
    }
}

@Composable
fun PreviewPicture(pixels: Pixels, description: String, modifier: Modifier = Modifier) {
    val bitmap = remember(pixels) {
        Bitmap.createBitmap(pixels.argb, pixels.width, pixels.height, Bitmap.Config.ARGB_8888).asImageBitmap()
    }
    Image(bitmap, description, modifier, contentScale = ContentScale.Fit, filterQuality = FilterQuality.Medium)
}

/** Two pictures in one frame, parted by a line that a finger or the slider moves. */
@Composable
fun BeforeAfter(before: Path, after: Path, description: String, frame: Modifier) {
    var part by rememberSaveable(before.toString()) { mutableFloatStateOf(0.5f) }
    val old = loaded(before)
    val line = MaterialTheme.colorScheme.primary
    Column {
        Box(
            frame.pointerInput(before) {
                detectHorizontalDragGestures { change, _ -> part = (change.position.x / size.width).coerceIn(0f, 1f) }
            },
        ) {
            FilePicture(after, description, Modifier.fillMaxSize())
            if (old != null) {
                Image(
                    old,
                    stringResource(R.string.before),
                    Modifier.fillMaxSize().drawWithContent {
                        clipRect(right = size.width * part) { this@drawWithContent.drawContent() }
                        drawLine(line, Offset(size.width * part, 0f), Offset(size.width * part, size.height), strokeWidth = 2.dp.toPx())
                    },
                    contentScale = ContentScale.Fit,
                )
            }
            Tag(R.string.before, Modifier.align(Alignment.TopStart))
            Tag(R.string.after, Modifier.align(Alignment.TopEnd))
        }
        val name = stringResource(R.string.before_after)
        val state = stringResource(R.string.shown_before, (part * 100).roundToInt())
        Slider(
            part,
            { part = it },
            Modifier.fillMaxWidth().semantics {
                contentDescription = name
                stateDescription = state
            },
        )
    }
}

@Composable
private fun Tag(text: Int, modifier: Modifier) {
    Row(modifier.padding(8.dp).background(Color.Black.copy(alpha = 0.55f), MaterialTheme.shapes.small)) {
        Text(
            stringResource(text),
            Modifier.padding(horizontal = 8.dp, vertical = 2.dp),
            color = Color.White,
            style = MaterialTheme.typography.labelMedium,
        )
    }
}
