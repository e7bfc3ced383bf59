// What the browser keeps: for the tab (the token), or for longer (a choice). Where it may keep nothing, the page does.

function keptIn(name) {
  const here = new Map();
  const there = (work, otherwise) => {
    try {
      return work(window[name]);
    } catch {
      return otherwise();
    }
  };
  return {
    get: (key) => there((store) => store.getItem(key), () => here.get(key) ?? null) ?? "",
    set: (key, text) => {
      if (text) there((store) => store.setItem(key, text), () => here.set(key, text));
      else there((store) => store.removeItem(key), () => here.delete(key));
    },
  };
}

export const forTab = keptIn("sessionStorage");
export const forLonger = keptIn("localStorage");
