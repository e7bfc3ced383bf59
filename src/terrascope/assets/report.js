"use strict";
const all = (selector) => [...document.querySelectorAll(selector)];
const radios = all("input[name=picture]");
const toggles = all(".toggle");

function show() {
  const radio = radios.find((one) => one.checked);
  const picture = radio ? radio.value : "0";
  // A mask belongs to its image: on the picture of another date it would point at what was not there.
  const image = radio ? radio.dataset.image : null;
  for (const one of all(".picture")) one.hidden = one.dataset.picture !== picture;
  for (const toggle of toggles) {
    const isHere = image === null || toggle.dataset.image === image;
    document.querySelector(`.layer[data-step="${toggle.value}"]`).hidden = !(toggle.checked && isHere);
    toggle.closest(".step").classList.toggle("elsewhere", !isHere);
  }
}

for (const input of [...radios, ...toggles]) input.addEventListener("change", show);
for (const button of all(".only")) {
  button.addEventListener("click", () => {
    for (const toggle of toggles) toggle.checked = toggle.value === button.dataset.step;
    const shown = radios.find((one) => one.checked);
    if (shown && shown.dataset.image !== button.dataset.image) {
      radios.find((one) => one.dataset.image === button.dataset.image).checked = true;
    }
    show();
  });
}
const opacity = document.querySelector("#opacity");
if (opacity) {
  const fade = () => document.querySelector(".stage").style.setProperty("--opacity", opacity.value / 100);
  opacity.addEventListener("input", fade);
  fade();
}
show();
