// <details data-menu> opens and closes by itself; this adds Escape, a click elsewhere, and leaving by Tab.

const menus = [...document.querySelectorAll("details[data-menu]")];

function closeOthers(kept) {
  for (const menu of menus) if (menu !== kept) menu.open = false;
}

for (const menu of menus) {
  menu.addEventListener("toggle", () => menu.open && closeOthers(menu));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
}

document.addEventListener("pointerdown", (event) => {
  const inside = menus.find((menu) => menu.contains(event.target));
  closeOthers(inside);
});
