-- Asks checkpw whether a login is good, for Dovecot 2.3 and later; see checkpw-dovecot(8).
--
-- Settings, by lua_settings of Dovecot 2.4, or as variables of the auth process in Dovecot 2.3 (import_environment):
--   socket,  CHECKPW_SOCKET    path of checkpw-verifierd(8), which says uid, gid and home as well; takes LuaSocket
--   checker, CHECKPW_CHECKER   path of a checkpassword program, which says only yes or no
--   timeout, CHECKPW_TIMEOUT   seconds for the answer of the former, 25 by default
-- blocking=yes gives the work to Dovecot's auth-worker processes, so that nobody waits for somebody else's hash.

local settings = {
  socket = os.getenv("CHECKPW_SOCKET"),
  checker = os.getenv("CHECKPW_CHECKER"),
  timeout = os.getenv("CHECKPW_TIMEOUT"),
}

local MAX_RECORD = 512 -- bytes, cr.yp.to/checkpwd/interface.html
local MAX_ANSWER = 131072 -- bytes, as accounts/verifier.py has it

-- A frame is a length and so many bytes, in which each field is a length and so many bytes.
local function frame(...)
  local fields = {}
  for _, field in ipairs({ ... }) do
    fields[#fields + 1] = string.pack(">s4", field)
  end
  return string.pack(">s4", table.concat(fields))
end

local function take_apart(body)
  local fields, at = {}, 1
  while at <= #body do
    local good, field, after = pcall(string.unpack, ">s4", body, at)
    if not good then
      return nil
    end
    fields[#fields + 1], at = field, after
  end
  return fields
end

-- Only printable characters, so that a login cannot forge a line of the log.
local function shown(text)
  return (text:gsub("[^%g ]", "?"))
end

local function trouble(request, text)
  request:log_error("checkpw: " .. text)
  return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, ""
end

local function ask_verifier(record, address)
  local found, unix = pcall(require, "socket.unix")
  if not found then
    return nil, "LuaSocket is not installed"
  end
  local line = unix.stream and unix.stream() or unix()
  line:settimeout(tonumber(settings.timeout) or 25, "t")
  local done, why = line:connect(settings.socket)
  if done then
    done, why = line:send(frame(record, address, "dovecot"))
  end
  local size, body
  if done then
    size, why = line:receive(4)
  end
  if size and string.unpack(">I4", size) <= MAX_ANSWER then
    body, why = line:receive((string.unpack(">I4", size)))
  end
  line:close()
  local fields = body and take_apart(body)
  if not fields or #fields ~= 7 then
    return nil, settings.socket .. ": " .. (why or "its answer is not one of a verifier")
  end
  return fields
end

local function verify_by_socket(request, record)
  local fields, why = ask_verifier(record, request.remote_ip or "")
  if not fields then
    return trouble(request, why)
  end
  local status, login, uid, gid, home, _, doubt = table.unpack(fields)
  if status == "1" then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, ""
  elseif status ~= "0" then
    return trouble(request, settings.socket .. ": nobody can tell now; its log says why")
  elseif uid ~= "" and doubt ~= "" then
    return trouble(request, "account " .. shown(login) .. ": " .. doubt)
  end
  local given = { user = login, userdb_home = home }
  if uid ~= "" then
    given.userdb_uid, given.userdb_gid = uid, gid
  end
  return dovecot.auth.PASSDB_RESULT_OK, given
end

local function quoted(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function verify_by_program(request, record)
  -- The record goes to the shell's standard input and from there to descriptor 3, and is in no argument.
  local command = "TCPREMOTEIP=" .. quoted(request.remote_ip or "") .. " exec " .. quoted(settings.checker)
  local program = io.popen(command .. " true 3<&0 </dev/null >/dev/null", "w")
  if not program then
    return trouble(request, settings.checker .. " cannot be started")
  end
  program:write(record)
  local done, how, status = program:close()
  if done then
    return dovecot.auth.PASSDB_RESULT_OK, {}
  elseif how == "exit" and status == 1 then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, ""
  end
  return trouble(request, settings.checker .. ": " .. how .. " " .. status)
end

function script_init(given)
  for name, value in pairs(given or {}) do -- Dovecot 2.3 gives nothing
    settings[name] = value
  end
  return 0
end

function script_deinit() end

function auth_password_verify(request, password)
  if not settings.socket and not settings.checker then
    return trouble(request, "neither socket nor checker is set")
  end
  local login = request.user
  local record = login .. "\0" .. password .. "\0\0"
  if #record > MAX_RECORD or login:find("\0", 1, true) or password:find("\0", 1, true) then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "" -- no store has such a login or password
  end
  if settings.socket then
    return verify_by_socket(request, record)
  end
  return verify_by_program(request, record)
end

-- A verifier tells nobody about a login without its password.
function auth_passdb_lookup(request)
  return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "checkpw answers only to a password"
end
