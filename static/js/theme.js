// Light, dark, or as the system: remembered in a cookie, so that the server can write data-theme into the
// page and nothing flashes. The cookie holds one of two words and no identity.

const COOKIE = "marrow-find-theme";
const YEAR_S = 365 * 24 * 3600;

export function applyTheme(choice) {
  const root = document.documentElement;
  if (choice === "light" || choice === "dark") {
    root.dataset.theme = choice;
    document.cookie = `${COOKIE}=${choice}; path=/; max-age=${YEAR_S}; samesite=lax`;
  } else {
    delete root.dataset.theme;
    document.cookie = `${COOKIE}=; path=/; max-age=0; samesite=lax`;
  }
}

for (const menu of document.querySelectorAll("[data-theme-menu]")) {
  menu.hidden = false; // without JavaScript the switch could do nothing, so it is not shown
  menu.addEventListener("change", (event) => {
    if (event.target.matches("[data-theme-choice]")) applyTheme(event.target.value);
  });
}
