"use strict";
async function enter() {
  const password = document.getElementById("password").value;
  const answer = await fetch("/login", {
    method: "POST", headers: { "X-Kfine": "1" }, body: JSON.stringify({ password }),
  });
  if (answer.ok) location.replace("/");
  else document.getElementById("message").textContent = (await answer.json()).error;
}
document.getElementById("enter").addEventListener("click", enter);
document.getElementById("password").addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
