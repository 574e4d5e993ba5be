// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DocumentKeyStore} from "contracts/services/DocumentKeyStore.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreDocumentKeyStoreService is DocumentKeyStore {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
