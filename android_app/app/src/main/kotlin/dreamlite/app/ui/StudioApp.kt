package dreamlite.app.ui

import androidx.compose.foundation.layout.BoxWithConstraints
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.consumeWindowInsets
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.imePadding
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.material3.Icon
import androidx.compose.material3.NavigationBar
import androidx.compose.material3.NavigationBarItem
import androidx.compose.material3.NavigationRail
import androidx.compose.material3.NavigationRailItem
import androidx.compose.material3.Scaffold
import androidx.compose.material3.Surface
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.CompositionLocalProvider
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalDensity
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.Density
import androidx.compose.ui.unit.dp
import dreamlite.app.model.Event
import dreamlite.app.model.Page
import dreamlite.app.model.StudioState

/** Below this width there is a bar at the bottom and one column, from it on a rail and two. */
private val WIDE = 600.dp
private const val MOST_GROWTH = 1.5f

/** All screens, from the state alone. */
@Composable
fun StudioApp(state: StudioState, pictures: PictureFiles, actions: Actions) {
    StudioTheme {
        Surface(Modifier.fillMaxSize()) {
            BoxWithConstraints {
                val wide = maxWidth >= WIDE
                if (wide) {
                    Row(Modifier.safeDrawingPadding()) {
                        Rail(state.desk.page, actions)
                        PageContent(state, pictures, actions, wide, Modifier.weight(1f))
                    }
                } else {
                    Scaffold(bottomBar = { Bar(state.desk.page, actions) }) { inner ->
                        PageContent(state, pictures, actions, wide, Modifier.padding(inner).consumeWindowInsets(inner).imePadding())
                    }
                }
            }
        }
    }
}

@Composable
private fun PageContent(state: StudioState, pictures: PictureFiles, actions: Actions, wide: Boolean, modifier: Modifier) {
    when (state.desk.page) {
        Page.STUDIO -> StudioPage(state, pictures, actions, wide, modifier)
        Page.HISTORY -> HistoryPage(state.desk.history, pictures, actions, modifier)
        Page.MODELS -> ModelsPage(state, actions, modifier)
        Page.PHONE -> PhonePage(state.desk, actions, modifier)
    }
}

@Composable
private fun Bar(chosen: Page, actions: Actions) {
    NavigationBar {
        for (page in Page.entries) {
            NavigationBarItem(
                selected = page == chosen,
                onClick = { actions.tell(Event.PagePicked(page)) },
                icon = { Icon(painterResource(iconOf(page)), null) },
                label = { PageName(page) },
            )
        }
    }
}

/** Four names share the width of the screen, so they grow with the font only as far as the longest fits. */
@Composable
private fun PageName(page: Page) {
    val density = LocalDensity.current
    val fitting = Density(density.density, density.fontScale.coerceAtMost(MOST_GROWTH))
    CompositionLocalProvider(LocalDensity provides fitting) { Text(stringResource(titleOf(page)), maxLines = 1) }
}

@Composable
private fun Rail(chosen: Page, actions: Actions) {
    NavigationRail {
        for (page in Page.entries) {
            NavigationRailItem(
                selected = page == chosen,
                onClick = { actions.tell(Event.PagePicked(page)) },
                icon = { Icon(painterResource(iconOf(page)), null) },
                label = { PageName(page) },
            )
        }
    }
}
