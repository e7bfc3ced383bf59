/* Search from the file system: browsers start no worker there, so a hidden frame of the same page does its work.
   Its name keeps the site generator from adding a script of this kind from another server. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.waiting = []
      document.documentElement.appendChild(this.frame)
      const inner = this.frame.contentWindow
      inner.postMessage = (data) => setTimeout(() => this.onmessage && this.onmessage({ data }))
      const script = inner.document.createElement("script")
      script.onload = () => {
        const held = this.waiting
        this.waiting = null
        held.forEach((data) => this.postMessage(data))
      }
      script.onerror = (error) => this.onerror && this.onerror(error)
      script.src = new URL(address, location.href).href
      inner.document.body.appendChild(script)
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else setTimeout(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
