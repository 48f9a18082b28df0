package dreamlite.app.ui

import androidx.compose.foundation.isSystemInDarkTheme
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.darkColorScheme
import androidx.compose.material3.lightColorScheme
import androidx.compose.runtime.Composable
import androidx.compose.ui.graphics.Color

private val LIGHT = lightColorScheme(
    primary = Color(0xFF4A5AA8),
    onPrimary = Color.White,
    primaryContainer = Color(0xFFDEE0FF),
    onPrimaryContainer = Color(0xFF00105C),
    secondaryContainer = Color(0xFFE0E1F9),
    onSecondaryContainer = Color(0xFF181A2C),
    background = Color(0xFFFBF8FF),
    surface = Color(0xFFFBF8FF),
)

private val DARK = darkColorScheme(
    primary = Color(0xFFBAC3FF),
    onPrimary = Color(0xFF192A78),
    primaryContainer = Color(0xFF324290),
    onPrimaryContainer = Color(0xFFDEE0FF),
    secondaryContainer = Color(0xFF434659),
    onSecondaryContainer = Color(0xFFE0E1F9),
    background = Color(0xFF131318),
    surface = Color(0xFF131318),
)

@Composable
fun StudioTheme(content: @Composable () -> Unit) {
    MaterialTheme(colorScheme = if (isSystemInDarkTheme()) DARK else LIGHT, content = content)
}
