// Says in the OHIF viewer why something is not shown: what the viewer cannot load, it waits for without a word.
const STYLE = `
#why { position: fixed; z-index: 10000; left: 0; right: 0; bottom: 0; padding: .5rem; display: flex; gap: 1rem;
  justify-content: center; align-items: baseline; background: #151a22; color: #e8ecf2; font: 16px/1.4 sans-serif; }
#why a, #why button { color: #8ab8ff; background: none; border: 0; font: inherit; cursor: pointer; }
body:not(:has([data-cy="viewport-pane"])) #why { top: 48px; align-items: center; }
body:not(:has([data-cy="viewport-pane"])) #why button { display: none; }`;

function problemOf(error) {
  const body = error.response ?? error.request?.response;
  try {
    return body instanceof ArrayBuffer ? JSON.parse(new TextDecoder().decode(body)) : body;
  } catch {
    return null; // not a problem document
  }
}

function element(name, text, properties = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  return Object.assign(made, properties);
}

function say(text) {
  document.querySelector("#why")?.remove();
  const why = element("div", "", { id: "why", role: "alert" });
  why.append(
    element("style", STYLE),
    element("span", text),
    element("a", "All studies", { href: "/" }),
    element("button", "Close", { type: "button", onclick: () => why.remove() }),
  );
  document.body.append(why);
}

// The viewer calls this with every request of its that fails (`httpErrorHandler` of its configuration).
window.sayWhy = (error) => {
  const status = error?.status ?? error?.request?.status;
  if (!status) return; // given up by the viewer itself
  const detail = problemOf(error)?.detail;
  say(`Not all is shown: ${detail ?? `the server answered ${status}`}.`);
};
